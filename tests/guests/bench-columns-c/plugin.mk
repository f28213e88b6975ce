name = bench-columns-c
version = 0.1.0
