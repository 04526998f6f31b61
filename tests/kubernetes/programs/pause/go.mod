module sailcloth.invalid/pause

go 1.22
