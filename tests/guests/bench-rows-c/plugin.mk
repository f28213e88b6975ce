name = bench-rows-c
version = 0.1.0
