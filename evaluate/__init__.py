"""How good a network is: data, recipes and short trainings.

Nothing here is imported with the package; `nas_sv2.evaluate.proxy.training` is what loads torch.
"""
