return take(KEYS, ARGV)
