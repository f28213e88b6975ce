# What builds this plugin, by `sluice plugin build`. `sources` may be several files; `flags` are given to clang for them.
name = my-plugin
version = 0.1.0
sources = plugin.c
flags = -Werror=implicit-function-declaration
