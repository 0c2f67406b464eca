"""What this package needs of Keras that Keras's public API does not give: one function for each.

There are two Keras: version 2, which is TensorFlow 2.15's own and later ones' legacy Keras
(`tf-keras`), and version 3. `tf.keras` is one of them, and here it is asked which. keras_2 and
keras_3 have the same functions; keras_2 says what each is for.

No other module names a private part of Keras, or asks for its version; tests/test_structure.py
checks that.
"""

import tensorflow as tf

IS_KERAS_3 = getattr(tf.keras, "__version__", "2").startswith("3.")     # Keras 2 has none there

if IS_KERAS_3:
    from mpl_tf.common.keras_3 import *     # noqa: F401,F403
else:
    from mpl_tf.common.keras_2 import *     # noqa: F401,F403
