/* What the C library's formatted output is linked to: there are no files, and nothing is printed. Weak, so that a plugin that needs more of the
 * system gets the library's own, which ask for imports that nobody grants: the build says so. */
#ifdef __wasm__
#include <stddef.h>
#include <stdint.h>

#define NO_SUCH_FILE 8 /* WASI's errno badf */
#define NOWHERE(name, ...) \
    __attribute__((weak)) uint16_t name(__VA_ARGS__) { return NO_SUCH_FILE; }

#pragma clang diagnostic ignored "-Wunused-parameter"
NOWHERE(__wasi_fd_close, int fd)
NOWHERE(__wasi_fd_write, int fd, const void *parts, size_t count, size_t *written)
NOWHERE(__wasi_fd_seek, int fd, int64_t offset, uint8_t whence, uint64_t *now)
NOWHERE(__wasi_fd_fdstat_get, int fd, void *status)
#endif
