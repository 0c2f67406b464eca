import sys

from mpl_tf.two_moons import study

if __name__ == "__main__":
    sys.exit(study.main())
