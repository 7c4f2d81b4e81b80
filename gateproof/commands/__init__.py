"""One module a verb, each with ``run(args) -> exit status``; loaded only when its verb is used."""
