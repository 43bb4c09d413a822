// Package hangtest is C code that misbehaves.
//
// Only tests import it, for what a decoder could do to its process: never return, or start threads
// of its own. It is no part of the recorder.
package hangtest

/*
#cgo LDFLAGS: -lpthread
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void spin(void) {
	for (;;) {
		__asm__ volatile("");
	}
}

static void *work(void *arg) {
	size_t n = 1 << 20;
	char *p = malloc(n);
	if (p == NULL) {
		return NULL;
	}
	memset(p, 7, n);
	long sum = 0;
	for (size_t i = 0; i < n; i++) {
		sum += p[i];
	}
	free(p);
	return (void *)sum;
}

static int threads(int n) {
	int good = 0;
	for (int i = 0; i < n; i++) {
		pthread_t t;
		void *sum = NULL;
		if (pthread_create(&t, NULL, work, NULL) != 0) {
			continue;
		}
		pthread_join(t, &sum);
		good += (long)sum == 7L << 20;
	}
	return good;
}
*/
import "C"

// Spin never returns.
func Spin() { C.spin() }

// Threads starts n C threads that use memory, one after the other, and returns how many worked.
func Threads(n int) int { return int(C.threads(C.int(n))) }
