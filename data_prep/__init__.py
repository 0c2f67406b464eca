"""Converts raw files to TFRecord shards: `python -m data_prep.NAME --source_dir=SOURCE ...`

imagenet, cifar10, svhn, unlabeled and image_folder write shards in the schema of mpl_tf.shards;
inspect checks any such shards. Nothing is downloaded. predict and select make from shards the
predictions and the selection that ReducedMPL and NoisyStudent train on, and features those of a
pretrained network; beam runs these three on many machines.

    imagenet  cifar10  svhn  unlabeled  image_folder       list the examples, and decide their order
    arrays  shards  output  workers                        write the shards, and continue an
                                                           interrupted run
    predict  select  features  beam                        call mpl_tf.reduced and mpl_tf.features
    sources  command                                       lists of files; flags and errors
"""

import os

from mpl_tf.common import quiet

if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "3":       # as command.run sets it, for its workers too
    quiet.while_importing("tensorflow")
