/*
 * terminal: what a command prints on a terminal. While stdout or stderr is one, all that goes
 * through it is filtered: text from elsewhere (a program's output, names, reasons) must neither
 * drive the terminal nor hide or reorder what it shows. Files and pipes get the bytes as they are.
 */
#ifndef EDGIBLE_TERMINAL_H
#define EDGIBLE_TERMINAL_H

/* Before anything is printed; once. */
void terminal_begin(void);
/* --raw: from here on stdout is not filtered; stderr always is. */
void terminal_set_raw(void);

/* A sequence of the program's own, such as a colour, to stdout; after what was printed before. */
void terminal_control(const char *sequence);

#endif
