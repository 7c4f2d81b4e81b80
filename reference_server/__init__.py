"""The bundled gateway and upstream: answers as scripts, faults as functions of scripts."""
