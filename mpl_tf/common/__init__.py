"""What all other packages use: files, commands, progress, random bits, Keras's private parts."""
