"""HST-MAE: tensors in, tensors out."""
