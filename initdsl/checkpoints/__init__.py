"""Tensors in files: safetensors, PyTorch pickles, distributed checkpoints."""
