"""Looks into an ONNX model without its weights and without trust: in a process of its own, with limits.

inspector   starts the process, hands it the pieces of the file that it asks for, and ends it when it takes too long
__main__    the process
limits      what it may not do
pieces      the file, as the process sees it
skeleton    the graph, with holes where weights lie
external    where weights lie in other files: inside the package, and as long as they should be
weightless  the model that is left when weights become inputs
checks      ONNX's checker and ONNX Runtime on it
signature   inputs, outputs and facts
report      the answer, as JSON
"""
