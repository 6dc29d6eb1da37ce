/*
 * fuzz: a target is one source with this function. Linked with -fsanitize=fuzzer it is a fuzzer,
 * linked with replay_main.c a program that runs it over files and folders of files.
 */
#ifndef EDGIBLE_FUZZ_H
#define EDGIBLE_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
