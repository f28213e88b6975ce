name = hosted-c
version = 0.1.0
