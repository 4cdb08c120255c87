"""ComfyUI's main.py with --novram or --lowvram on the CPU, where its command line refuses the pair.

The host ignores both switches when it computes on the CPU: they only change how many bytes of a model's
weights LoadedModel.model_load may put on the device. So that is what this launcher sets, and nothing else:
with --novram the 0.1 byte that the host passes for a GPU, with --lowvram half of the model's weights. From
there on the code is the host's, and each layer left behind casts its weights, and applies LoRAs to them, at
each call.

What that shows: our layers are made of operations that the host can leave behind, and compute the same then.
What it can't show: that weights and inputs meet on one device, since here both are the CPU, and how much
memory is saved.
"""

import runpy
import sys

sys.path.insert(0, ".")
sys.argv[0] = "main.py"

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import comfy.cli_args  # noqa: E402

comfy.cli_args.args.cpu = True

import comfy.model_management  # noqa: E402

load = comfy.model_management.LoadedModel.model_load


def load_in_part(self, lowvram_model_memory=0, force_patch_weights=False):
    """As the host loads a model that does not fit."""
    fits = 0.1 if comfy.cli_args.args.novram else self.model.model_size() / 2
    return load(self, fits, force_patch_weights)


comfy.model_management.LoadedModel.model_load = load_in_part
runpy.run_path("main.py", run_name="__main__")
