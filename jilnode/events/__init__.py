"""Events: how nodes tell each other what they did. ``README.md`` in this folder is the wire format."""
