"""TFRecord shards of images: one schema, any record at once. No TensorFlow at import."""
