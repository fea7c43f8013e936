/* What stands for the libc's own in a router's static program: openwrt/cross links it before the libc. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sys/prctl.h>

/* musl's prints the name of the file through which another thread is named, and the whole of printf comes with it, 7 KB of a package.
 * Threads name but themselves here. */
int pthread_setname_np(pthread_t thread, const char *name)
{
	if (thread != pthread_self())
		return ENOSYS;
	return prctl(PR_SET_NAME, name) ? errno : 0;
}

#ifdef __arm__
/* Nothing is ever unwound. The linker puts these in the places of the unwinder's own (--wrap). */
void __wrap___aeabi_unwind_cpp_pr0(void)
{
}

void __wrap___aeabi_unwind_cpp_pr1(void)
{
}
#endif

#ifdef __mips__
/* musl's for mips expects to be called as from a shared library, and a static program that calls it otherwise ends there. rustix does, to
 * find what the libc has; in a static program there is nothing to be found in any case. The second name is that of the libc with 64-bit
 * times. */
void *dlsym(void *library, const char *name)
{
	(void)library, (void)name;
	return 0;
}

void *__dlsym_time64(void *library, const char *name)
{
	return dlsym(library, name);
}
#endif
