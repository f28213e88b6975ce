name = probe
version = 0.1.0
sources = probe.c misbehave.c random.c
# It answers the contract's functions itself, by the SDK's, to spoil what they made.
raw = yes
