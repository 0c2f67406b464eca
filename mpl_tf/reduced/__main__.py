import sys

from mpl_tf.reduced import chain

if __name__ == "__main__":
    sys.exit(chain.main())
