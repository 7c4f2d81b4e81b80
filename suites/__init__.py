"""The checks, as pytest modules by API surface, with the scenarios they judge and the kill list."""
