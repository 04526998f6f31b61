module sailcloth.invalid/web

go 1.22
