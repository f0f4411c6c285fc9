"""Checkpoints that other tools load: a diffusers folder, ONNX, torch.export; and a page that needs no server."""

FORMATS = ("diffusers", "onnx", "pt2")
WEB = "web"
"""The format that is a folder of its own, see `web/`."""
