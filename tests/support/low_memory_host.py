"""ComfyUI's main.py with --novram or --lowvram on the CPU, which its command line refuses.

On the CPU the host ignores both switches. They only change how many bytes of a model's weights
LoadedModel.model_load may put on the device. So this launcher sets these bytes and nothing more: with
--novram the 0.1 byte that the host passes for a GPU, with --lowvram half of the model's weights. All other
code is the host's. A layer left off the device casts its weights, and applies LoRAs to them, at each call.

The launcher shows that the host can leave our layers off the device without a change of results. It can't
show that weights and inputs meet on one device, since both are on the CPU, or how much memory is saved.
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
    """Loads a model in part, like the host a model that does not fit."""
    fits = 0.1 if comfy.cli_args.args.novram else self.model.model_size() / 2
    return load(self, fits, force_patch_weights)


comfy.model_management.LoadedModel.model_load = load_in_part
runpy.run_path("main.py", run_name="__main__")
