"""Raw files to TFRecord shards: `python -m data_prep.NAME --source_dir=... --output_dir=...`.

imagenet, cifar10, svhn, unlabeled and image_folder write shards in the schema of mpl_tf.shards;
inspect looks at any. Nothing is downloaded. predict and select make of shards what ReducedMPL and
NoisyStudent train on.

    imagenet  cifar10  svhn  unlabeled  image_folder       what the examples are, and their order
    shards                                                 writes them, and continues where it stopped
    predict  select  beam                                  distributions; the best: mpl_tf.reduced
    sources  command                                       lists of files; flags, errors
"""
