"""Rule files where training code plugs initialization in: one module a library, imported by name.

`initdsl.integrations.transformers`, `.lightning`, `.accelerate`, `.hydra`. Nothing here is needed by anything else.
"""
