"""A tone outside of emosteer: a baked model, a control vector of llama.cpp, an Inference Endpoint."""

from emosteer.export.baked import bake
from emosteer.export.checkpoint import save_baked
from emosteer.export.endpoint import write_endpoint
from emosteer.export.gguf import write_gguf

__all__ = ["bake", "save_baked", "write_endpoint", "write_gguf"]
