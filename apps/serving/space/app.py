"""The page and the API as a Hugging Face Space, which runs this file and sends visitors to port 7860."""

import os
import sys

from text2latent.apps.serving.command import main

MODELS = ["faces", "landscapes"]
"""Names of the zoo, hf://ORG/NAME, or folders of this Space; the first one is the default."""

if __name__ == "__main__":
    flags = [word for model in MODELS for word in ("--model", model)]
    port = os.environ.get("GRADIO_SERVER_PORT", "7860")
    # Only the Space's own proxy can connect, so what it says of visitors is believed.
    network = ["--host", "0.0.0.0", "--port", port, "--trusted-proxies", "*"]
    sys.exit(main([*flags, *network, "--allowed-hosts", os.environ.get("SPACE_HOST", "*.hf.space")]))
