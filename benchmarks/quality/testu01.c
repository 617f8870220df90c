/* Runs a battery of TestU01 (L'Ecuyer & Simard 2007) on 32-bit numbers read from standard input.
   Build: cc -O2 testu01.c -ltestu01 -lprobdist -lmylib -lm (Debian, libtestu01-0-dev: -ltestu01probdist -ltestu01mylib);
   run: emit | ./a.out small|crush|big [reversed] */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <TestU01.h>

static uint32_t buffer[1 << 16];
static size_t have, next;
static int backwards;

static unsigned int number(void)
{
    if (next == have) {
        have = fread(buffer, sizeof *buffer, sizeof buffer / sizeof *buffer, stdin);
        next = 0;
        if (have == 0) {
            fprintf(stderr, "the stream ended before the battery did\n");
            exit(2);
        }
    }
    uint32_t x = buffer[next++];
    if (backwards) { /* the batteries look hardest at the high bits: reversed, the low ones get their turn */
        x = (x >> 16) | (x << 16);
        x = ((x & 0xff00ff00u) >> 8) | ((x & 0x00ff00ffu) << 8);
        x = ((x & 0xf0f0f0f0u) >> 4) | ((x & 0x0f0f0f0fu) << 4);
        x = ((x & 0xccccccccu) >> 2) | ((x & 0x33333333u) << 2);
        x = ((x & 0xaaaaaaaau) >> 1) | ((x & 0x55555555u) << 1);
    }
    return x;
}

int main(int count, char **words)
{
    if (count < 2) {
        fprintf(stderr, "name a battery: small, crush or big\n");
        return 2;
    }
    backwards = count > 2 && strcmp(words[2], "reversed") == 0;
    unif01_Gen *stream = unif01_CreateExternGenBits("initdsl stream", number);
    swrite_Basic = FALSE;
    if (strcmp(words[1], "small") == 0)
        bbattery_SmallCrush(stream);
    else if (strcmp(words[1], "crush") == 0)
        bbattery_Crush(stream);
    else
        bbattery_BigCrush(stream);
    unif01_DeleteExternGenBits(stream);
    return 0;
}
