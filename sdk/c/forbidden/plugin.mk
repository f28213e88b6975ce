name = forbidden
version = 0.1.0
sources = plugin.c
# A world of its own, which imports what nobody grants: what the host is tested to refuse.
world = clocked.wit
