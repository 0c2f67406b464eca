"""Runs a pretrained network once over images and stores its features, for data_prep.features."""
