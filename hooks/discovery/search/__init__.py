"""How `find` looks: for the router near some experts, for experts of any name, and for experts held in lists."""
