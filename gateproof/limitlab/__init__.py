"""The rate-limit lab: what the limits of a gateway really are, from requests and their answers.

Everything here is pure: it says what to send and when, and is told what came. ``told`` reads what
an answer says of limits, ``models`` holds the limiters that are known and what each would do,
``fit`` finds those that agree with every answer, ``lab`` decides what to ask next, ``judge`` holds
the result against what is documented and what the answers claimed. Nothing here opens a socket.
"""
