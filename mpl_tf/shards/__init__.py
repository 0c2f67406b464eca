"""TFRecord shards of images: one schema, random access to records. No TensorFlow at import."""
