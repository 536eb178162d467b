/* User-Mode-Linux keeps 2696 bytes of a process's extended registers: up to AVX-512 and PKRU. On a processor with
 * AMX the host's kernel wants all 11008 back and refuses less, so no guest boots. This gives the rest as unused, which
 * it is: a guest's program would have to ask for AMX first. Preloaded into linux.uml; other processors are unaffected. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#define XSTATE_BV_AT 512
#define KEPT_FEATURES 0x2ffULL /* x87 to AVX-512, PKRU */

static union { char bytes[1 << 16]; uint64_t words[1 << 13]; } whole __attribute__((aligned(64)));
static size_t whole_length;

long ptrace(enum __ptrace_request request, ...)
{
    static long (*real)(int, ...);
    va_list rest;
    va_start(rest, request);
    pid_t pid = va_arg(rest, pid_t);
    void *address = va_arg(rest, void *);
    void *data = va_arg(rest, void *);
    va_end(rest);
    if (!real)
        real = (long (*)(int, ...))dlsym(RTLD_NEXT, "ptrace");
    int is_set = request == PTRACE_SETREGSET;
    if ((!is_set && request != PTRACE_GETREGSET) || (long)address != NT_X86_XSTATE)
        return real(request, pid, address, data);
    struct iovec *theirs = data;
    struct iovec ours = { whole.bytes, sizeof(whole) };
    if (!is_set || !whole_length) {
        long result = real(PTRACE_GETREGSET, pid, address, &ours);
        if (result < 0)
            return result;
        whole_length = ours.iov_len;
        if (!is_set) {
            whole.words[XSTATE_BV_AT / 8] &= KEPT_FEATURES;
            if (theirs->iov_len > whole_length)
                theirs->iov_len = whole_length;
            memcpy(theirs->iov_base, whole.bytes, theirs->iov_len);
            return result;
        }
    }
    memset(whole.bytes, 0, whole_length);
    memcpy(whole.bytes, theirs->iov_base, theirs->iov_len < whole_length ? theirs->iov_len : whole_length);
    whole.words[XSTATE_BV_AT / 8] &= KEPT_FEATURES;
    ours.iov_len = whole_length;
    return real(PTRACE_SETREGSET, pid, address, &ours);
}
