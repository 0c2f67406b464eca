"""What all other packages stand on: files, progress, flags, random bits, Keras's private parts."""
