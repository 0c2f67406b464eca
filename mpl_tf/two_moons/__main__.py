import sys

from mpl_tf.two_moons import study

sys.exit(study.main(sys.argv))
