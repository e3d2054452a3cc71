"""The Open Inference Protocol (KServe V2, Triton): its tensors, its requests and its routes."""
