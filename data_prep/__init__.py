"""Raw files to TFRecord shards: `python -m data_prep.NAME --source_dir=... --output_dir=...`.

imagenet, cifar10, svhn, unlabeled and image_folder write shards in the schema of mpl_tf.records;
inspect looks at any. Nothing is downloaded. predict and select make of shards what ReducedMPL and
NoisyStudent train on.

    imagenet  cifar10  svhn  unlabeled  image_folder       what the examples are, and their order
    shards                                                 writes them, and continues where it stopped
    select -> select_report    predict -> forward          a network's distributions; the best of them
    images  sources  command                               image files; lists of files; flags, errors
"""
