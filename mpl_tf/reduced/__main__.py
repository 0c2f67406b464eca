import sys

from mpl_tf.reduced import chain

sys.exit(chain.main(sys.argv))
