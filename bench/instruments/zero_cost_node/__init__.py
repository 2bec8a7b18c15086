"""A node for the measurement of the live chart: the model's predictions cost nothing."""

import torch


class ZeroCostModel:
    """Puts one tensor, drawn once, in the place of every prediction of the model."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"model": ("MODEL",)}})
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    def patch(self, model):
        kept = {}

        def predict(apply_model, call):
            x = call["input"]
            if x.shape not in kept:
                kept[x.shape] = torch.randn_like(x)
            return kept[x.shape]

        patched = model.clone()
        patched.set_model_unet_function_wrapper(predict)
        return (patched,)


NODE_CLASS_MAPPINGS = {"BenchZeroCostModel": ZeroCostModel}
