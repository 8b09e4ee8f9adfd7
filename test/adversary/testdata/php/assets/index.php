<?php
$route = 'assets';
require __DIR__ . "/../../served.php";
