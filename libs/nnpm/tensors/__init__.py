"""Tensors between the Open Inference Protocol and numpy: datatypes, raw bytes, typed contents, whole messages.

Protocol: KServe's Open Inference Protocol v2 (gRPC), as `protos/inference/inference.proto` has it.
"""
