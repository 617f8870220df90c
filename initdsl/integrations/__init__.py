"""Where training code plugs rule files in: one module a library, imported by its name and by nothing else here.

`initdsl.integrations.transformers`, `.lightning`, `.accelerate`, `.hydra`, `.ipython`.
"""
