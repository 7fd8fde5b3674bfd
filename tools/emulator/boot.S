# In place of a BIOS and a boot loader: enters Linux by its 32-bit boot protocol
# (https://docs.kernel.org/arch/x86/boot.html). Bochs has laid the kernel and the initrd in memory.

        .section .low, "ax"             # at 0x10000
        .code32
segments:
        .quad 0, 0
        .quad 0x00cf9b000000ffff        # 0x10: code, all of memory
        .quad 0x00cf93000000ffff        # 0x18: data, all of memory
enter:  mov     $0x18, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $parameters, %esi
        xor     %ebp, %ebp
        xor     %edi, %edi
        xor     %ebx, %ebx
        mov     $0x100000, %eax
        jmp     *%eax

options:
        .asciz  OPTIONS

        .balign 4096
parameters:                             # struct boot_params
        .org    parameters + 0x1e8
        .byte   2                       # ranges of memory, below
        .org    parameters + 0x1f1      # what the kernel says of itself, and what we tell it
        .incbin KERNEL, 0x1f1, 0x210 - 0x1f1
        .byte   0xff                    # a loader that has no number
        .incbin KERNEL, 0x211, 0x218 - 0x211
        .long   INITRD, INITRD_SIZE
        .incbin KERNEL, 0x220, 0x228 - 0x220
        .long   options
        .incbin KERNEL, 0x22c, 0x26c - 0x22c
        .org    parameters + 0x2d0      # address, size, kind: RAM
        .quad   0, 0xa0000
        .long   1
        .quad   0x100000, MEMORY - 0x100000
        .long   1
        .org    parameters + 4096

        .section .rom, "ax"             # the last 64 KB below 4 GB
        .code16
rom:
table:  .word   0x1f
        .long   segments
start:  cli
        lgdtl   %cs:(table - rom)
        mov     %cr0, %eax
        or      $1, %al
        mov     %eax, %cr0
        ljmpl   $0x10, $enter
        .org    rom + 0xfff0            # where a CPU begins
        jmp     start
        .org    rom + 0x10000
