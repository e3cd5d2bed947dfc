"""The demo: demo.sh and its acts."""
