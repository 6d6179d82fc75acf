module suah.dev/protect

go 1.26.0
